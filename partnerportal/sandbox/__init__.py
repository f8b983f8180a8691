"""The pretend cloud that ships: Entra, Partner Center, Graph, AvePoint and the GDAP API over real HTTP on loopback.

It imports nothing of the apps and is never imported by them: they find it by `UPSTREAM_ROUTES`. To try something:

    .venv/bin/python -m partnerportal.sandbox.server --port 8001 --profile demo
    curl -H 'Authorization: Bearer sandbox:admin:partnercenter' http://127.0.0.1:8001/_/partnercenter/v1/customers?size=2

Where to look: `seed.py` says who and what is in it (personas, special customers, credentials), `assumptions.py` lists
every switch for what nobody outside Microsoft knows, `faults.py` what may be broken, `state.py` what may be changed.
`cloud.py` holds state and rules without HTTP; `routes/` speaks each vendor's wire; `server.py` is the socket.
"""
