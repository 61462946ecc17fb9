import DirectMMU
public import PageTables

/// What of its processors a machine shows to those who check it; for a machine at rest.
extension VirtualMachine {
  /// The root that a processor's hardware walks; `.none` when it has loaded none.
  public func root(of number: Int) -> ShadowPageID {
    // SAFETY: nobody runs the processor of a machine at rest.
    unsafe processor(number).pointee.root
  }

  /// How many tables a processor has in stock.
  public func stockCount(of number: Int) -> Int {
    // SAFETY: nobody runs the processor of a machine at rest.
    unsafe processor(number).pointee.faultState.cache.count
  }

  /// The table in a place of a processor's stock, 0..<stockCount.
  public func stockedTable(_ position: Int, of number: Int) -> ShadowPageID {
    // SAFETY: nobody runs the processor of a machine at rest.
    unsafe processor(number).pointee.faultState.cache[position]
  }
}
