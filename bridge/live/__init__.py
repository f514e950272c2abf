"""What may change while the bridge runs: rule files, lists, the mode of the site."""
