"""Every address of the portal. DESIGN section 3 and INTERFACE.md fix them."""

from django.urls import include, path

from partnerportal import audit_pages, settings_page, signin, views

handler400 = views.bad_request
handler403 = views.permission_denied
handler404 = views.page_not_found
handler500 = views.server_error

# These need no sign-in, and nothing else does. tests/partnerportal/test_every_view.py holds it.
PUBLIC = {"signin", "signin-callback", "signout", "session", "livez", "readyz", "csp-report", "handover"}

urlpatterns = [
    path("signin/", signin.begin, name="signin"),
    path("signin/callback/", signin.callback, name="signin-callback"),
    path("signout/", signin.sign_out, name="signout"),
    path("session/", signin.session, name="session"),
    path("livez", views.livez, name="livez"),
    path("readyz", views.readyz, name="readyz"),
    path("csp-report/", views.csp_report, name="csp-report"),
    path("settings/", settings_page.settings_page, name="settings"),
    path("theme/", settings_page.theme, name="theme"),
    path("shortcuts/", settings_page.shortcuts, name="shortcuts"),
    path("audit/", audit_pages.audit, name="audit"),
    path("audit/export.csv", audit_pages.audit_export, name="audit-export"),
    path("audit/<int:pk>/", audit_pages.audit_event, name="audit-event"),
    path("", include("customers.urls")),
    path("", include("users.urls")),
]
