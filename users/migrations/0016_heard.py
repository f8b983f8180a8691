from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("users", "0015_seen_skus")]

    operations = [
        migrations.AddField(model_name="onboardingrun", name="heard_at", field=models.DateTimeField(null=True)),
    ]
