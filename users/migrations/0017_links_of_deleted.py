from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("users", "0016_heard")]

    operations = [
        migrations.AlterField(
            model_name="handoverlink",
            name="state",
            field=models.CharField(
                choices=[
                    ("open", "Open"),
                    ("opened", "Opened"),
                    ("expired", "Ran out unopened"),
                    ("revoked", "Revoked unopened"),
                    ("closed", "Closed unopened"),
                    ("deleted", "Ended unopened, for the user was deleted"),
                ],
                default="open",
                max_length=7,
            ),
        ),
    ]
