"""In the centre: receives uploads, admits and stores them, judges them, hands alarms on; the data API."""
