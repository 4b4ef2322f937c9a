"""Who runs when: configuration, polling, the three kinds of agents, investigations, alarms and the command line."""

__version__ = "0.1.0"
