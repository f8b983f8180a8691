from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("partnerportal", "0005_pace")]

    operations = [
        migrations.AddField(model_name="audithead", name="accepted_at", field=models.DateTimeField(null=True)),
    ]
