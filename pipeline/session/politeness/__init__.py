"""What a site may ask of us: robots.txt, Retry-After, requests per host; and hosts that must not be asked."""
