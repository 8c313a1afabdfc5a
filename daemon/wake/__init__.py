"""What says "look now": notifications (`listener`), and the sweep on its timetable (`sweep`). Neither carries work."""
