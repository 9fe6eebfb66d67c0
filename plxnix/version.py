"""The version of this plxnix."""

VERSION = "0.1.0"
