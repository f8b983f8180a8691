from typing import Any

from django.db import migrations, models
from django.db.models import F


def believe(apps: Any, _schema_editor: Any) -> None:
    """Until now a claimed e-mail was given back when it was not sent, so what is claimed went out."""
    apps.get_model("users", "OnboardingRun").objects.update(mailed_at=F("notified_at"))


class Migration(migrations.Migration):
    dependencies = [("users", "0012_indexed_deleted")]

    operations = [
        migrations.AddField(
            model_name="onboardingrun",
            name="mailed_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AlterField(
            model_name="onboardingrow",
            name="state",
            field=models.CharField(
                choices=[
                    ("draft", "Not started"),
                    ("queued", "Queued"),
                    ("checked", "Checked"),
                    ("sent", "Sent"),
                    ("done", "Done"),
                    ("refused", "Failed"),
                    ("conflict", "Already there"),
                    ("differs", "Differs"),
                    ("denied", "No right"),
                    ("unknown", "Unknown"),
                    ("stopped", "Stopped"),
                ],
                default="draft",
                max_length=8,
            ),
        ),
        migrations.RunPython(believe, migrations.RunPython.noop),
    ]
