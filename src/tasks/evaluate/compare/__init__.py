"""``mode=compare``: test whether settings differ, from several trainings per setting and several draws per training."""
