"""Durable execution for asyncio: workflows whose every step is kept, so that a crash resumes at the last one."""
