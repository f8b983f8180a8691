"""What gunicorn serves: `gunicorn partnerportal.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

from partnerportal.checks import refuse_unsafe_start

os.umask(0o077)  # what we write is for us alone
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "partnerportal.settings")

refuse_unsafe_start()  # gunicorn does not run Django's checks
application = get_wsgi_application()
