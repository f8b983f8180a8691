"""A word begins after every sign: what is stored gets the space that `search.stored` puts behind signs beyond ASCII."""

from django.db import migrations

from customers import search


def put_apart(apps, schema_editor):
    search.put_apart(apps.get_model("customers", "Customer").objects.using(schema_editor.connection.alias))


class Migration(migrations.Migration):

    dependencies = [
        ("customers", "0004_users_seen"),
    ]

    operations = [
        migrations.RunPython(put_apart, migrations.RunPython.noop, elidable=True),
    ]
