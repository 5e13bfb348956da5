"""
What people see of a controller: the HTTP API, the stream of events, the page.
"""
