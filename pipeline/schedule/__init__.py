"""When a spider is due, and the children that do the work."""
