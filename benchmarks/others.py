"""The portal's addresses, and the same customers as Django's admin and as django-tables2 with django-filter show them.

Both as their tutorials do it: search fields, filters, 50 rows a page.
"""

from typing import Any

import django_filters
import django_tables2
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import include, path
from django_filters.views import FilterView
from django_tables2.views import SingleTableMixin

from customers.models import Customer

SEARCHED = ("name", "domain", "tenant_id", "owner_email")


class OpenSite(admin.AdminSite):
    def has_permission(self, request: HttpRequest) -> bool:
        return True


class CustomerAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "domain", "in_partner_center", "in_avepoint", "country", "gdap_ends_at", "ap_status")
    list_filter = ("in_partner_center", "in_avepoint", "country", "ap_status")
    search_fields = SEARCHED
    ordering = ("name",)
    list_per_page = 50

    def everybody(self, *_asked: Any, **_more: Any) -> bool:
        return True

    has_view_permission = has_change_permission = has_delete_permission = everybody
    has_add_permission = has_module_permission = everybody


site = OpenSite(name="admin")
site.register(Customer, CustomerAdmin)


class CustomerTable(django_tables2.Table):  # type: ignore[misc]
    class Meta:
        model = Customer
        fields = CustomerAdmin.list_display
        order_by = "name"


class CustomerFilter(django_filters.FilterSet):  # type: ignore[misc]
    q = django_filters.CharFilter(method="search")
    country = django_filters.AllValuesFilter()
    ap_status = django_filters.AllValuesFilter()

    class Meta:
        model = Customer
        fields = ("in_partner_center", "in_avepoint")

    def search(self, rows: QuerySet[Customer], name: str, value: str) -> QuerySet[Customer]:
        wanted = Q()
        for field in SEARCHED:
            wanted |= Q(**{f"{field}__icontains": value})
        return rows.filter(wanted)


class CustomerList(SingleTableMixin, FilterView):  # type: ignore[misc]
    model = Customer
    table_class = CustomerTable
    filterset_class = CustomerFilter
    template_name = "benchmark.html"
    paginate_by = 50


urlpatterns = [
    path("others/admin/", site.urls),
    path("others/tables/", CustomerList.as_view()),
    path("", include("partnerportal.urls")),
]
