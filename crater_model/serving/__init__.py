"""Serving: a local server with TF Serving's API, its client, and the serving image.

Importing this package imports neither TensorFlow nor gRPC; its modules do that when used.
"""
