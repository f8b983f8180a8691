"""What is stored of users for the search gets its words apart too: see customers.0005."""

from django.db import migrations

from customers import search


def put_apart(apps, schema_editor):
    search.put_apart(apps.get_model("users", "IndexedUser").objects.using(schema_editor.connection.alias))


class Migration(migrations.Migration):

    dependencies = [
        ("users", "0019_names_in_operations"),
        ("customers", "0005_words_apart"),
    ]

    operations = [
        migrations.RunPython(put_apart, migrations.RunPython.noop, elidable=True),
    ]
