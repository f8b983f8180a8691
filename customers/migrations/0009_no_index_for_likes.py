"""PostgreSQL's indexes for LIKE on keys and tenant ids, which Django makes beside each unique text: nobody asks so, and
every change of a customer writes them.
"""

from typing import Any

from django.db import migrations

INDEXES = {
    "customers_customer_key_19351892_like": "key",
    "customers_customer_tenant_id_b3a9de9f_like": "tenant_id",
}


def drop(_apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for name in INDEXES:
            schema_editor.execute(f"DROP INDEX IF EXISTS {name}")


def make(_apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for name, column in INDEXES.items():
            schema_editor.execute(f"CREATE INDEX {name} ON customers_customer ({column} varchar_pattern_ops)")


class Migration(migrations.Migration):
    dependencies = [("customers", "0008_what_a_list_told_last")]

    operations = [migrations.RunPython(drop, make)]
