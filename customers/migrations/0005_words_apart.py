"""A word begins after every sign: what is stored gets the space that `search.stored` puts behind signs beyond ASCII."""

from django.db import migrations

from customers import search

BATCH = 2_000


def put_apart(apps, schema_editor):
    customers = apps.get_model("customers", "Customer").objects.using(schema_editor.connection.alias)
    changed = []
    for customer in customers.only("search_text").order_by("pk").iterator(chunk_size=BATCH):
        before = customer.search_text
        customer.search_text = search.apart(before)
        if customer.search_text != before:
            changed.append(customer)
        if len(changed) == BATCH:
            customers.bulk_update(changed, ["search_text"], batch_size=200)
            changed.clear()
    customers.bulk_update(changed, ["search_text"], batch_size=200)


class Migration(migrations.Migration):

    dependencies = [
        ("customers", "0004_users_seen"),
    ]

    operations = [
        migrations.RunPython(put_apart, migrations.RunPython.noop, elidable=True),
    ]
