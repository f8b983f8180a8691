"""Addresses of the customers app; DESIGN section 3 fixes them."""

from django.urls import path

from .views import access, columns, customers, details, export, gdap, gdap_sync, goto, matches, overview, sources

urlpatterns = [
    path("", overview.overview, name="home"),
    path("customers/", customers.customers, name="customers"),
    path("customers/refresh/", customers.refresh, name="customers-refresh"),
    path("customers/columns/", columns.columns, name="customers-columns"),
    path("customers/size/", columns.page_size, name="customers-size"),
    path("customers/export.csv", export.export, name="customers-export"),
    path("go/", goto.go, name="go"),
    path("customers/<key>/favourite/", goto.favourite, name="favourite"),
    path("customers/<key>/", customers.customer, name="customer"),
    path("customers/<key>/access/", access.customer_access, name="customer-access"),
    path("gdap/", gdap.gdap, name="gdap"),
    path("gdap/refresh/", gdap.refresh, name="gdap-refresh"),
    path("gdap/export.csv", gdap.export, name="gdap-export"),
    path("customers/<key>/details/", details.details, name="customer-details"),
    path("customers/<key>/labels/", details.label_add, name="label-add"),
    path("customers/<key>/labels/<int:pk>/remove/", details.label_remove, name="label-remove"),
    path("matches/", matches.matches, name="matches"),
    path("matches/confirm/", matches.confirm, name="matches-confirm"),
    path("matches/batches/<uuid:batch>/undo/", matches.undo_batch, name="match-undo-batch"),
    path("matches/decisions/<int:pk>/undo/", matches.undo, name="match-undo"),
    path("matches/<tenant_id>/<avepoint_id>/", matches.match, name="match"),
    path("matches/<tenant_id>/<avepoint_id>/decide/", matches.decide, name="match-decide"),
    path("customers/<key>/menu/", customers.menu, name="customer-menu"),
    path("sources/", sources.sources, name="sources"),
    path("sources/cancel/", sources.cancel, name="sources-cancel"),
    path("sources/answer/", sources.answer, name="sources-answer"),
    path("gdap/sync/", gdap_sync.gdap_sync, name="gdap-sync"),
    path("gdap/sync/<uuid:op_id>/", gdap_sync.gdap_sync_request, name="gdap-sync-request"),
]
