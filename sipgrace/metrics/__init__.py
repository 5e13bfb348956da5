"""
What Prometheus is told: of servers, clients and controllers.
"""
