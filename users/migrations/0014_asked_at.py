"""When a person last had an operation looked up: it is the one limit of "Check again"."""

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("customers", "0004_users_seen"),
        ("users", "0013_mail_and_differs"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="operation",
            name="asked_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddIndex(
            model_name="operation",
            index=models.Index(fields=["by", "asked_at"], name="operations_asked_about"),
        ),
    ]
