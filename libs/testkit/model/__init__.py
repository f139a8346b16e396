"""The protocol of the lane as a small model, and every state of it looked at (runtime.md, How it is proved).

Two workers, one or two lanes, up to four records, a command, a timer and a call; each worker may crash, sleep past its lease and go on as
a zombie, hand over, or lose the answer to a COMMIT which then lands or dies, at any step. `python -m testkit.model` explores what is in
`configurations.py`; each is exhaustive within the bounds that its line prints, and nothing is claimed beyond them. Moves bear the names
of `spine.steps.Step`; `coverage.py` says which steps are part of another move and why.

| | what it says here | what the model can't say |
|---|---|---|
| I1 | the inbox is the set of identities in the certified ranges and commands, at every moment | parking: no run is unknown here |
| I2 | the state is the fold of the lane's inputs in lane_seq order | read sets: policies are not modelled, an effect is its input's name |
| I3 | the outbox is what that fold emits, with the same lane_seq | |
| I4 | no output on the topic but a committed one, in its own bytes; nothing marked that is not there | bytes: a count of effects |
| I5 | anomalies are the identities that came with two payloads | |
| I6 | certificates cover lane_seq and offsets without hole or overlap | hashes: a certificate is its contents |
| I7 | no write of an owner (batch, mark, pending row) under a claim that is not the current one | |
| I8 | the verdicts of every input in the certified ranges are the due ones | parked and poison records: they are a matter of policies |
| ANSWERED | a command is answered as new exactly when this submission had the effect | |
| STUCK | where nothing can happen but a fault, all is consumed, settled, published and marked | fairness: that what can happen does |

Time is not modelled: a lease ends when its worker is dead, asleep, or does not know of it, and a timer may fire as soon as it is stored. A
worker that sleeps loses its open transactions before its lease (the order of the timeouts), and its leases all at once (one renewal).
"""
