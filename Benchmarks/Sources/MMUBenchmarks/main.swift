import Glibc

// Usage: MMUBenchmarks [--rounds N]                   all cases, timed, as a table
//        MMUBenchmarks --list                         the names of the counted cases
//        MMUBenchmarks --count NAME SIDE OPERATIONS   one side of one case, for a counting tool

func text(_ value: Double) -> String {
  let tenths = Int((value * 10).rounded())
  return "\(tenths / 10).\(tenths % 10)"
}

func padded(_ text: String, _ width: Int) -> String {
  String(repeating: " ", count: max(width - text.count, 0)) + text
}

/// The cases; zapping needs installing first, so the two share a machine.
func cases(counting: Bool) -> [(key: String, make: () -> Case)] {
  var made: [(String, () -> Case)] = []
  for (index, name) in ["walk-1d", "walk-2d"].enumerated() {
    made.append((name, { Walker.cases(small: true)[index] }))
  }
  if !counting {
    for (index, name) in ["walk-1d-large", "walk-2d-large"].enumerated() {
      made.append((name, { Walker.cases(small: false)[2 + index] }))
    }
  }
  made.append(
    (
      "fault",
      {
        let faulter = Faulter()
        return Case(
          name: "direct fault that installs one 4 KiB entry", unit: "fault", bound: 4,
          ours: { count in
            let fixed = counted { faulter.faults(count) }
            _ = faulter.zap(Int(Faulter.pages))
            return fixed
          },
          baseline: { count in
            let sum = counted { faulter.baseline(count) }
            _ = faulter.baselineZap(Int(Faulter.pages))
            return sum
          }, round: Int(Faulter.pages))
      }
    ))
  made.append(
    (
      "zap",
      {
        let faulter = Faulter()
        return Case(
          name: "zap of 1 GiB of 4 KiB entries", unit: "entry", bound: 0,
          ours: { count in
            _ = faulter.faults(Int(Faulter.pages))
            return counted { faulter.zap(count) }
          },
          baseline: { count in
            _ = faulter.baseline(Int(Faulter.pages))
            return counted { faulter.baselineZap(count) }
          }, round: Int(Faulter.pages))
      }
    ))
  for count in [1, 32, 32_000] as [UInt64] {
    made.append(
      (
        "slots-\(count)",
        {
          let finder = SlotFinder(count: count)
          return Case(
            name: "memslot look-up among \(count)", unit: "look-up", bound: 0,
            ours: { rounds in counted { finder.find(rounds) } },
            baseline: { rounds in counted { finder.baseline(rounds) } }, round: 1_000_000)
        }
      ))
  }
  return made + shadowCases() + subpageCases()
}

let arguments = CommandLine.arguments
if arguments.contains("--list") {
  for entry in cases(counting: true) { print(entry.key) }
} else if let at = arguments.firstIndex(of: "--count"), arguments.count > at + 3,
  let entry = cases(counting: true).first(where: { $0.key == arguments[at + 1] }),
  let operations = Int(arguments[at + 3])
{
  isCounting = true
  let chosen = entry.make()
  sink &+=
    arguments[at + 2] == Side.ours.rawValue
    ? chosen.ours(operations) : chosen.baseline(operations)
  print(sink)
  // Nothing is taken apart: only the operations are to be counted.
  withExtendedLifetime(chosen) { exit(0) }
} else {
  let rounds = arguments.firstIndex(of: "--rounds").flatMap { Int(arguments[$0 + 1]) } ?? 7
  print("case                                            ours ns      C ns   times  bound")
  var failed = false
  for entry in cases(counting: false) {
    let chosen = entry.make()
    let result = chosen.measure(rounds: rounds)
    let name = chosen.name + String(repeating: " ", count: max(44 - chosen.name.count, 0))
    let bound = chosen.bound == 0 ? "    -" : padded(text(chosen.bound), 5)
    print(
      name, padded(text(result.ours), 10), padded(text(result.baseline), 9),
      padded(text(result.ratio * 10 / 10), 7), bound)
    if chosen.bound > 0 && result.ratio > chosen.bound { failed = true }
  }
  exit(failed ? 1 : 0)
}
