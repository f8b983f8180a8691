"""Which run has sent an operation, so that it can be emptied with the run's rows."""

from typing import Any

from django.db import migrations, models
from django.db.models import OuterRef, Subquery


def tell(apps: Any, _schema_editor: Any) -> None:
    """Of what was sent before, the row that it belongs to knows."""
    rows = apps.get_model("users", "OnboardingRow").objects.filter(op_id=OuterRef("op_id"))
    of_rows = apps.get_model("users", "Operation").objects.exclude(row=None)
    of_rows.update(job=Subquery(rows.values("run__key")[:1]))


class Migration(migrations.Migration):
    dependencies = [("users", "0017_links_of_deleted")]

    operations = [
        migrations.AddField(
            model_name="operation", name="job", field=models.UUIDField(db_index=True, null=True)
        ),
        migrations.RunPython(tell, migrations.RunPython.noop),
    ]
