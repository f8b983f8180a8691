"""When a user name was seen absent before it was sent, and what tells so: one walk over all names of a customer."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("customers", "0003_short_assignments"),
        ("users", "0010_files"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="operation",
            name="seen_absent_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddIndex(
            model_name="operation",
            index=models.Index(fields=["customer", "sent_at"], name="operations_lately"),
        ),
        migrations.CreateModel(
            name="SeenNames",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("hashes", models.JSONField(default=list)),
                ("whole", models.BooleanField(default=False)),
                ("walked_at", models.DateTimeField()),
                (
                    "customer",
                    models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, to="customers.customer"),
                ),
            ],
        ),
        migrations.DeleteModel(name="DeletedNames"),  # it knew a quarter of an hour, and of deleted users alone
    ]
