"""``mode=compare``: whether settings differ, from several trainings of each and several draws of samples of each."""
