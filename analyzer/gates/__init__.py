"""What makes an audit fail: gates, waivers, settings, and the comparison with an earlier report."""
