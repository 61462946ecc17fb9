/// Who runs next, at each point where more than one actor could.
public enum SchedulePolicy: Hashable, Sendable {
  /// By chance from a seed.
  ///
  /// The seed also says how often control changes hands, from every point to every 16th, so
  /// that both fine and coarse mixtures come up.
  case seeded(UInt64)
  /// By a list of actors' numbers, one for each point at which there is a choice.
  ///
  /// Behind the end of the list, and where it names somebody who cannot run, whoever runs goes on
  /// as long as it can, and then the lowest takes over.
  case fixed([Int])
}
