"""What arrays of other frameworks are to NumPy's: one module per framework, the same verbs in each.

None is imported before its framework is (`ckptmgr.lifecycle.foreign`, which also says what the
verbs are).
"""
