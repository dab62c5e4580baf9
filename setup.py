"""Which folders become which packages; everything else about the project is in pyproject.toml."""

from setuptools import find_packages, setup

# Top-level folders that are installed as parts of gabc.
PARTS = ("grammar", "stdlib_gaus", "kernels")

packages = find_packages(include=["gabc", "gabc.*"])
for part in PARTS:
    packages += [f"gabc.{part}", *(f"gabc.{part}.{name}" for name in find_packages(part))]

setup(packages=packages, package_dir={f"gabc.{part}": part for part in PARTS})
