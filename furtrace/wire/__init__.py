"""The protocol as bytes: headers, opcodes, INIT flags, the command area of an SQE, the dialects.

Imports nothing else of furtrace.
"""
