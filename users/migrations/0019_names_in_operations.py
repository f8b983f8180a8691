"""The user names that operations give and take are found by an index: a row of a run asks for each."""

import users.models.users
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('customers', '0004_users_seen'),
        ('users', '0018_operations_of_runs'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddIndex(
            model_name='operation',
            index=models.Index(models.F('customer'), users.models.users.UserNameIn('fields'), name='operations_giving_a_name'),
        ),
        migrations.AddIndex(
            model_name='operation',
            index=models.Index(models.F('customer'), users.models.users.UserNameIn('before'), name='operations_taking_a_name'),
        ),
    ]
