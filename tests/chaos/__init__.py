"""A campaign of random faults: trainings whose processes, server and disk fail at random times, and what must still hold.

Where to read what:

* ``plan``: what is drawn before a run starts: usage, options, faults, restart
* ``usages``: the jobs, as users write them
* ``faults``: what may go wrong, and how it is done; ``processes`` finds the processes of a job, ``disk`` is one that fills up
* ``timeline``: when in a life a fault happens
* ``life``: one life of a job, from its start to the end of its last process
* ``trial``: a whole run of the campaign: lives, commands that messages name, evidence
* ``evidence``: what a trial has left; ``endings``: the true ends of the job
* ``invariants``: what must hold; ``limits``: what is known not to
* ``report``: the table; ``__main__``: the command, ``scripts/chaos``
"""
