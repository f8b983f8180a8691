"""The indexes of the search, which Django has no words for."""

from django.db import ProgrammingError, migrations

from customers import search

NO_EXTENSION = """The customer search needs PostgreSQL's extension pg_trgm, and this role may not create it.
Run this once in the portal's database as a superuser, then migrate again:  CREATE EXTENSION pg_trgm;
Or give the role the right: GRANT CREATE ON DATABASE <name> TO <role>. See docs/deployment.md."""


def install(apps, schema_editor):
    database = schema_editor.connection
    if database.vendor == "postgresql":
        with database.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm'")
            if cursor.fetchone() is None:
                try:
                    cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
                except ProgrammingError as error:
                    raise SystemExit(NO_EXTENSION) from error
    search.install(database)


def remove(apps, schema_editor):
    search.remove(schema_editor.connection)


class Migration(migrations.Migration):

    dependencies = [
        ('customers', '0001_initial'),
    ]

    operations = [
        migrations.RunPython(install, remove),
    ]
