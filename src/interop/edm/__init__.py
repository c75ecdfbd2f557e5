"""Published networks of NVlabs/edm (Karras et al. 2022), whose files are Python pickles."""
