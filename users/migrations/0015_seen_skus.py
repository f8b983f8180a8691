"""What licences are called that some customer has, for the names in templates."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("users", "0014_asked_at"),
    ]

    operations = [
        migrations.CreateModel(
            name="SeenSku",
            fields=[
                ("sku_id", models.CharField(max_length=36, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=200)),
                ("part", models.CharField(blank=True, max_length=100)),
            ],
        ),
    ]
