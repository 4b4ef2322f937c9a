"""What the simulated machines do between two instants of simulated time; no sockets, no wall clock.

thermal: load and ambient -> top oil and hot spot.  gassing: a target vector -> gases in oil, one analysis at a
time.  sf6: density and temperature -> pressure.  profile: daily load and weather with seeded noise.
"""
