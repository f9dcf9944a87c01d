"""Fixtures for every test."""

from tests.support.strangers import strangers as strangers
