/// Scenarios that reached pairs of tracepoints that nothing before them had reached.
public struct FuzzCorpus: Sendable {
  /// The scenarios, in the order of their names.
  public private(set) var scenarios: [Scenario]

  /// These scenarios.
  public init(_ scenarios: [Scenario] = []) { self.scenarios = scenarios }

  mutating func add(_ scenario: Scenario) { scenarios.append(scenario) }

  /// What the run of a seed starts from: half of the time one of the scenarios, changed a little.
  func start(seed: UInt64) -> Scenario? {
    var chance = SeededGenerator(~seed)
    guard !scenarios.isEmpty, chance.chance(1, in: 2) else { return nil }
    var scenario = chance.pick(scenarios)
    for _ in 0..<chance.below(4) { mutate(&scenario, &chance) }
    return scenario
  }

  private func mutate(_ scenario: inout Scenario, _ chance: inout SeededGenerator) {
    let count = scenario.steps.count
    guard count > 0 else { return }
    let start = chance.below(count)
    let end = min(count, start + 1 + chance.below(16))
    switch chance.below(5) {
    case 0: scenario.steps.removeSubrange(start..<end)
    case 1: scenario.steps.insert(contentsOf: scenario.steps[start..<end], at: chance.below(count))
    case 2: scenario.steps.swapAt(start, chance.below(count))
    case 3: scenario.steps.removeLast(count - end)
    default:
      // Another's middle, on this one's machine, without what names processors that it lacks.
      let limit = scenario.machine.processors
      let other = chance.pick(scenarios).steps.filter { $0.operation.fits(limit) }
      let from = chance.below(other.count + 1)
      scenario.steps.insert(
        contentsOf: other[from..<min(other.count, from + 40)], at: end)
    }
  }
}
