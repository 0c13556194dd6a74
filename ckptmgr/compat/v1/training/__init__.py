"""Sessions that save and restore by themselves: what of `tf.train` runs a program's training.

    Coordinator, LooperThread       stop several threads together
    SessionManager                  a session with values: restored, initialized, or waited for
    Scaffold                        the operations and the Saver which that needs, found or made
    SessionRunHook and others       called around each run
    MonitoredSession                all of it around one session
    Supervisor                      the same before there were hooks: saves from a thread

Nothing here writes summaries; what only does so is not offered.
"""
