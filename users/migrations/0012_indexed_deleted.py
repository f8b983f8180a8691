"""The search finds deleted users too, and says that they are."""

from customers import search
from django.db import migrations, models

TEXTS = search.Texts("users_indexeduser", "users")


def install(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":  # which made the table anew, without its triggers
        search.install(schema_editor.connection, TEXTS)


class Migration(migrations.Migration):

    dependencies = [
        ("users", "0011_seen_absent"),
    ]

    operations = [
        migrations.AddField(
            model_name="indexeduser",
            name="deleted",
            field=models.BooleanField(default=False),
        ),
        migrations.RunPython(install, migrations.RunPython.noop),
    ]
