"""The edge under load: how long single requests wait, and what an event costs."""
