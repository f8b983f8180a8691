from django.db import migrations, models

from partnerportal import chain

ROWS = 2_000  # in one statement


def chain_all(apps, schema_editor):
    """What was written before there was a chain is chained as it stands, in the order of the ids."""
    event_model = apps.get_model("partnerportal", "AuditEvent")
    head, changes = chain.Head(0, chain.FIRST), []
    for event in event_model.objects.order_by("id").iterator(chunk_size=ROWS):
        following = chain.Head(head.seq + 1, chain.joined(head.hash, head.seq + 1, chain.digest(event)))
        changes.append((following.seq, head.hash, following.hash, event.pk))
        head = following
        if len(changes) == ROWS:
            write(schema_editor, changes)
            changes = []
    write(schema_editor, changes)
    if head.seq:
        previous = event_model.objects.values_list("previous", flat=True).get(seq=head.seq)
        apps.get_model("partnerportal", "AuditHead").objects.create(
            count=head.seq, previous=previous, hash=head.hash
        )


def write(schema_editor, changes):
    with schema_editor.connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE partnerportal_auditevent SET seq = %s, previous = %s, hash = %s WHERE id = %s", changes
        )


class Migration(migrations.Migration):

    dependencies = [
        ('partnerportal', '0003_job_grants'),
    ]

    operations = [
        migrations.CreateModel(
            name='AuditHead',
            fields=[
                ('id', models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ('count', models.BigIntegerField(default=0)),
                ('previous', models.CharField(max_length=64)),
                ('hash', models.CharField(max_length=64)),
                ('broken', models.TextField(blank=True)),
            ],
        ),
        migrations.AddField(
            model_name='auditevent',
            name='seq',
            field=models.BigIntegerField(default=0),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='auditevent',
            name='previous',
            field=models.CharField(default='', max_length=64),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='auditevent',
            name='hash',
            field=models.CharField(default='', max_length=64),
            preserve_default=False,
        ),
        migrations.RunPython(chain_all, migrations.RunPython.noop),
        migrations.AlterField(
            model_name='auditevent',
            name='seq',
            field=models.BigIntegerField(db_index=True),
        ),
    ]
