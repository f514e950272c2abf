"""TS-API, the web API of TS Solution's TS-CMS, TS-NVR, TS-LPR and TS-IVR, in both of its dialects."""
