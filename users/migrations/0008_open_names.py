"""One undecided create a customer and user name, held by the database itself."""

from django.conf import settings
from django.db import migrations, models


def name_the_open_ones(apps, schema_editor):
    """Of several with one name, the oldest has it: the others are decided as before."""
    Operation = apps.get_model("users", "Operation")
    undecided = Operation.objects.filter(kind="create", state__in=["queued", "checked", "sent", "unknown"])
    seen = set()
    for operation in undecided.order_by("pk"):
        name = str(operation.fields.get("user_principal_name", "")).lower()
        if (operation.customer_id, name) not in seen:
            seen.add((operation.customer_id, name))
            Operation.objects.filter(pk=operation.pk).update(open_name=name)


class Migration(migrations.Migration):

    dependencies = [
        ("customers", "0003_short_assignments"),
        ("users", "0007_deleted_names"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="operation",
            name="open_name",
            field=models.CharField(blank=True, max_length=400),
        ),
        migrations.RunPython(name_the_open_ones, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name="operation",
            constraint=models.UniqueConstraint(
                condition=models.Q(("open_name", ""), _negated=True),
                fields=("customer", "open_name"),
                name="one_open_create_a_name",
            ),
        ),
    ]
