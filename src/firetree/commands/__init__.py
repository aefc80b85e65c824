"""The command `firetree`: one file for each verb, with texts and pages beside. The library does not import it."""
