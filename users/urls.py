"""Addresses of the users app; DESIGN section 3 fixes them."""

from django.urls import path

from . import (
    changing,
    deleting,
    export,
    handover,
    history,
    licensing,
    link_pages,
    resetting,
    searching,
    template_pages,
    views,
)
from .onboarding import checking, several, uploading
from .onboarding import pages as runs

urlpatterns = [
    path("customers/<key>/users/", views.users, name="users"),
    path("customers/<key>/users/ahead/", views.users_ahead, name="users-ahead"),
    path("customers/<key>/users/export.csv", export.users_export, name="users-export"),
    path("customers/<key>/users/search/", searching.users_search, name="users-search"),
    path("customers/<key>/users/new/", views.user_new, name="user-new"),
    path("customers/<key>/users/operations/<uuid:op_id>/", views.operation, name="operation"),
    path("customers/<key>/users/<uuid:user_id>/", views.user, name="user"),
    path("customers/<key>/users/<uuid:user_id>/edit/", changing.user_edit, name="user-edit"),
    path("customers/<key>/users/<uuid:user_id>/history/", history.user_history, name="user-history"),
    path("customers/<key>/users/<uuid:user_id>/undo/", history.user_undo, name="user-undo"),
    path("customers/<key>/users/<uuid:user_id>/licences/", licensing.user_licences, name="user-licences"),
    path("customers/<key>/users/<uuid:user_id>/password/", resetting.user_reset, name="user-reset"),
    path("customers/<key>/users/<uuid:user_id>/delete/", deleting.user_delete, name="user-delete"),
    path("customers/<key>/users/<uuid:user_id>/restore/", deleting.user_restore, name="user-restore"),
    path("customers/<key>/users/several/", several.users_several, name="users-several"),
    path("onboarding/", runs.runs, name="runs"),
    path("onboarding/<uuid:run_id>/", runs.run, name="run"),
    path("onboarding/<uuid:run_id>/check/", runs.run_check, name="run-check"),
    path("onboarding/<uuid:run_id>/results.csv", runs.run_results, name="run-results"),
    path("handover/<token>/", handover.handover, name="handover"),
    path("links/", link_pages.hand_over_links, name="links"),
    path("customers/<key>/templates/", template_pages.customer_templates, name="templates"),
    path("customers/<key>/templates/<slug:which>/", template_pages.customer_template, name="template"),
    path("onboarding/new/", uploading.onboarding_new, name="onboarding-new"),
    path("onboarding/new/<uuid:pk>/", uploading.onboarding_columns, name="onboarding-columns"),
    path("onboarding/template.csv", uploading.onboarding_template, name="onboarding-template"),
    path("onboarding/<uuid:run_id>/problems.csv", checking.run_problems, name="run-problems"),
    path("settings/templates/", template_pages.all_templates, name="all-templates"),
    path("settings/templates/<slug:which>/", template_pages.all_template, name="all-template"),
]
