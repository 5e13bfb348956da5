"""
What sipgrace is made of and what it needs. How it is built is in tools/building.py; the settings of its
checks are in pyproject.toml.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
sys.path.insert(0, str(here / "tools"))

from building import CHECKS, COMMANDS, extensions  # noqa: E402

readme = here / "README.rst"
about = (here / "sipgrace" / "__init__.py").read_text(encoding="utf-8")
version = re.search(r'(?m)^__version__ = "(.+)"$', about)
assert version is not None

checks = ["ruff>=0.9", *CHECKS]

setup(
    name="sipgrace",
    version=version[1],
    description="Takes a SIP server out of service without losing a call: SIP over SCTP on Twisted",
    long_description=readme.read_text(encoding="utf-8") if readme.exists() else "",
    long_description_content_type="text/x-rst",
    python_requires=">=3.11",
    # twisted.plugins has no __init__.py, here as in every project that brings plugins: the folder joins
    # Twisted's own.
    packages=[*find_packages(include=["sipgrace", "sipgrace.*"]), "twisted.plugins"],
    # Saying so makes an editable install add this folder to Python's path, where Twisted finds the plugins;
    # the import hook that setuptools would use else hides them.
    package_dir={"": "."},
    package_data={"sipgrace": ["py.typed"], "sipgrace.controller.web": ["page/*"]},
    zip_safe=False,
    ext_modules=extensions(),
    cmdclass=COMMANDS,
    install_requires=[
        "Twisted[tls,conch]>=26.4",
        "Automat>=25.4.16",
        "zope.interface>=7",
        "pysctp>=0.7.3; sys_platform == 'linux'",
        "cffi>=1.17",
        "pydantic>=2.11",
        "rich>=13",
        "click>=8.1",
        "mypy_extensions>=1",
        "cryptography>=43",
        "cronsim>=2.7",
        "klein>=24.8",
        "treq>=24.9",
        "prometheus_client>=0.22",
    ],
    extras_require={
        # setuptools: a test builds the wheel, without fetching anything.
        # PyYAML: reads the example of a manifest.
        "test": [
            "sipmessage==0.7.1",
            "setuptools>=70.1",
            "hypothesis>=6.100",
            "PyYAML>=6",
            "openapi-spec-validator>=0.8",
            *checks,
        ],
        "lint": checks,
        "compile": [*CHECKS, "setuptools>=70.1"],
        "bench": [*checks, "setuptools>=70.1", "sipmessage==0.7.1", "py-spy>=0.3.14"],
        "docs": ["sphinx>=8", "pydoctor>=25.4"],
    },
    entry_points={"console_scripts": ["sipgrace=sipgrace.commands.main:main"]},
    classifiers=[
        "Framework :: Twisted",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Communications :: Internet Phone",
        "Typing :: Typed",
    ],
)
