/// The cases of shadow paging.
func shadowCases() -> [(key: String, make: () -> Case)] {
  var made: [(String, () -> Case)] = []
  made.append(
    (
      "shadow-fault",
      {
        let faulter = LeafFaulter()
        return Case(
          name: "shadow fault that installs one 4 KiB leaf", unit: "fault", bound: 0,
          ours: faulter.faults, baseline: faulter.baseline, round: Int(LeafFaulter.pages))
      }
    ))
  made.append(
    (
      "shadow-path",
      {
        let faulter = PathFaulter()
        return Case(
          name: "shadow fault that makes three tables", unit: "fault", bound: 0,
          ours: faulter.faults, baseline: faulter.baseline, round: Int(PathFaulter.paths) * 8)
      }
    ))
  for changed in [0, 1, 512] as [UInt64] {
    made.append(
      (
        "sync-\(changed)",
        {
          let synchronizer = Synchronizer(changed: changed)
          return Case(
            name: "sync of a full page table, \(changed) changed", unit: "table", bound: 0,
            ours: synchronizer.synchronize, baseline: synchronizer.baseline, round: 1000)
        }
      ))
  }
  for (key, floods) in [("table-write", false), ("table-flood", true)] {
    made.append(
      (
        key,
        {
          let writer = TableWriter(floods: floods)
          return Case(
            name: floods
              ? "third store to a directory, which drops it" : "store to a page directory",
            unit: "store", bound: 0, ours: writer.stores, baseline: writer.baseline,
            round: Int(TableWriter.directories) * 8)
        }
      ))
  }
  for (key, count) in [("root-hit", 4), ("root-miss", 5)] {
    made.append(
      (
        key,
        {
          let switcher = RootSwitcher(count: count)
          return Case(
            name: count == 4 ? "root switch to a kept root" : "root switch to a root found again",
            unit: "switch", bound: 0, ours: switcher.switches, baseline: switcher.baseline,
            round: 20_000)
        }
      ))
  }
  return made
}
